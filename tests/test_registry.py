"""Families of other installed packages: found by name, listed, saved, loaded; broken ones named and left out."""

import subprocess
import sys

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.family import registry

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.rayleigh(1, (80, 1)), RNG.rayleigh(9, (70, 1))])

FAMILY = '''
import numpy as np
import expfam_em as ef


class {name}(ef.ExponentialFamily):
    """Heights of waves: T(x) = x²."""

    def sufficient_statistics(self, X):
        return X**2

    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=1)

    def to_natural(self, expectation):
        return -1 / expectation
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put packages on the path that declare families; undo all of it, and what they registered, afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def install(package, module, code, **families):
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        lines = [f"{name} = {module}:{value}" for name, value in families.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{registry.ENTRY_POINT_GROUP}]", *lines]), encoding="utf-8")
        modules.append(module)
        return tmp_path

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def fitted(family):
    return ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(X)


def test_a_family_of_another_package_is_imported_when_it_is_asked_for(install):
    install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")
    assert "Waves" in registry.names()
    assert registry.find("Gaussian") is ef.families.Gaussian
    assert registry.find("Nothing") is None
    assert "ocean_families" not in sys.modules
    found = registry.find("Waves")
    assert found is sys.modules["ocean_families"].Waves
    assert registry.find("Waves") is found
    assert registry.registered()["Waves"] is found
    assert registry.names().count("Waves") == 1


SPELLINGS = ("GammaPoisson", "gamma-poisson", "gamma_poisson", "gammapoisson")


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_known_family_is_found_in_any_spelling_without_a_look_at_packages(name, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", None)  # to call it would be an error
    assert registry.by_name(name) is ef.families.GammaPoisson


@pytest.mark.parametrize("name", ["HighWaves", "high-waves", "high_waves", "highwaves"])
def test_a_family_of_another_package_is_found_in_any_spelling(name, install):
    install("ocean", "ocean_families", FAMILY.format(name="HighWaves"), HighWaves="HighWaves")
    assert registry.by_name(name) is sys.modules["ocean_families"].HighWaves


def test_all_families_are_those_of_the_package_and_of_others(install):
    before = registry.registered()
    install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")
    assert registry.registered() == before | {"Waves": sys.modules["ocean_families"].Waves}


def test_a_model_is_loaded_without_registering_anything(install, tmp_path):
    folder = install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")
    import ocean_families

    model = fitted(ocean_families.Waves())
    model.save(tmp_path / "waves.efm")
    code = (
        "import sys, expfam_em as ef; loaded = ef.load(sys.argv[1]); "
        "print(type(loaded.family).__module__, loaded.natural_parameters_.ravel().tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "waves.efm")],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    assert run.stdout.strip() == f"ocean_families {model.natural_parameters_.ravel().tolist()}"


def test_a_registered_class_is_not_replaced(install, tmp_path):
    install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")

    class Waves(ef.ExponentialFamily):
        pass

    ef.register(Waves)
    assert registry.find("Waves") is Waves
    with pytest.warns(UserWarning, match=r"'Waves' of the package 'ocean'.*is registered as 'Waves' already"):
        assert registry.registered()["Waves"] is Waves


BROKEN = [
    ("raise RuntimeError('no sea')", "Tide", "RuntimeError: no sea"),
    ("import a_module_that_is_nowhere", "Tide", "ModuleNotFoundError"),
    ("", "Tide", "AttributeError"),
    ("Tide = 3", "Tide", "TypeError: register takes a subclass of ExponentialFamily, not 3"),
    (FAMILY.format(name="Ebb"), "Ebb", "ValueError: it is a Ebb, and both must have the same name"),
]


@pytest.mark.parametrize(("code", "value", "message"), BROKEN)
def test_a_broken_package_is_named_and_breaks_no_other(code, value, message, install, tmp_path):
    install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")
    install("moon", "moon_families", code, Tide=value)
    expected = f"the family 'Tide' of the package 'moon', moon_families:{value}, cannot be used: {message}"
    with pytest.raises(ValueError, match="cannot be used") as caught:
        registry.find("Tide")
    assert str(caught.value).startswith(expected)
    with pytest.warns(UserWarning, match="cannot be used") as warned:
        families = registry.registered()
    assert [str(warning.message).startswith(expected) for warning in warned] == [True]
    assert "Tide" not in families
    assert families["Waves"] is registry.find("Waves")
    fitted(families["Waves"]()).save(tmp_path / "waves.efm")
    assert isinstance(ef.load(tmp_path / "waves.efm").family, families["Waves"])


def test_a_file_whose_package_is_broken_says_which(install, tmp_path, monkeypatch):
    folder = install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")
    fitted(registry.find("Waves")()).save(tmp_path / "waves.efm")
    registry._families.pop("Waves")
    (folder / "ocean_families.py").write_text("raise OSError('dry')", encoding="utf-8")
    del sys.modules["ocean_families"]
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for cached in folder.glob("__pycache__/*"):
        cached.unlink()
    with pytest.raises(ValueError, match=r"cannot be loaded: the family 'Waves' of the package 'ocean'.*OSError: dry"):
        ef.load(tmp_path / "waves.efm")


def test_two_packages_with_one_name_are_both_named(install):
    install("ocean", "ocean_families", FAMILY.format(name="Waves"), Waves="Waves")
    install("lake", "lake_families", FAMILY.format(name="Waves"), Waves="Waves")
    for _ in range(2):
        with pytest.raises(ValueError, match="have a family 'Waves' each") as caught:
            registry.find("Waves")
        assert "'ocean'" in str(caught.value)
        assert "'lake'" in str(caught.value)
    with pytest.warns(UserWarning, match="have a family 'Waves' each"):
        assert "Waves" not in registry.registered()

"""``python -m expfam_em.cli``."""

from expfam_em.cli.app import main

main()

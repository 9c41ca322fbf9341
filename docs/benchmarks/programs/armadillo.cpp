// Armadillo's mixtures and k-means from given parameters: armadillo FOLDER full|diag|kmeans n d K iterations
// FOLDER/rows holds the rows; FOLDER/start weights, means and one variance. FOLDER/fitted becomes seconds, CPU seconds
// and what was fitted. All numbers are float64.
#include <armadillo>
#include <chrono>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

std::vector<double> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::vector<double> values(file.tellg() / sizeof(double));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(double));
  return values;
}

struct Start {
  arma::rowvec weights;
  arma::mat means;
  double variance;
};

template <class Model> Model started(const Start& start);

template <> arma::gmm_full started(const Start& start) {
  arma::cube covariances(start.means.n_rows, start.means.n_rows, start.means.n_cols);
  covariances.each_slice() = start.variance * arma::eye(start.means.n_rows, start.means.n_rows);
  arma::gmm_full model;
  model.set_params(start.means, covariances, start.weights);
  return model;
}

template <> arma::gmm_diag started(const Start& start) {
  arma::mat variances(start.means.n_rows, start.means.n_cols);
  variances.fill(start.variance);
  arma::gmm_diag model;
  model.set_params(start.means, variances, start.weights);
  return model;
}

void append(std::vector<double>& out, const arma::mat& values) { out.insert(out.end(), values.begin(), values.end()); }

std::vector<double> parameters(const arma::gmm_full& model) {
  std::vector<double> out;
  append(out, model.hefts);
  append(out, model.means);
  for (arma::uword k = 0; k < model.n_gaus(); k++) append(out, model.fcovs.slice(k));
  return out;
}

std::vector<double> parameters(const arma::gmm_diag& model) {
  std::vector<double> out;
  append(out, model.hefts);
  append(out, model.means);
  for (arma::uword k = 0; k < model.n_gaus(); k++) append(out, arma::diagmat(model.dcovs.col(k)));
  return out;
}

// Call `fit` until 0.2 s have gone; return the least seconds, its CPU seconds and what was fitted.
template <class Fit> std::vector<double> timed(Fit fit) {
  double least = 1e300, cpu = 0, total = 0;
  std::vector<double> fitted;
  while (total < 0.2) {
    const std::clock_t ticks = std::clock();
    const auto begin = std::chrono::steady_clock::now();
    auto result = fit();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (seconds < least) least = seconds, cpu = double(std::clock() - ticks) / CLOCKS_PER_SEC;
    total += seconds;
    fitted = result();
  }
  fitted.insert(fitted.begin(), {least, cpu});
  return fitted;
}

template <class Model> std::vector<double> mixture(const arma::mat& X, const Start& start, unsigned iterations) {
  return timed([&] {
    Model model = started<Model>(start);
    if (!model.learn(X, start.means.n_cols, arma::eucl_dist, arma::keep_existing, 0, iterations, 0, false))
      throw std::runtime_error("learn failed");
    return [model] { return parameters(model); };
  });
}

std::vector<double> kmeans(const arma::mat& X, const Start& start, unsigned iterations) {
  return timed([&] {
    arma::mat means = start.means;
    if (!arma::kmeans(means, X, start.means.n_cols, arma::keep_existing, iterations, false))
      throw std::runtime_error("kmeans failed");
    return [means] {
      std::vector<double> out;
      append(out, means);
      return out;
    };
  });
}

int main(int, char** argv) {
  const std::string folder = argv[1], task = argv[2];
  const arma::uword n = std::stoul(argv[3]), d = std::stoul(argv[4]), K = std::stoul(argv[5]);
  const unsigned iterations = std::stoul(argv[6]);
  std::vector<double> values = read(folder + "/start"), rows = read(folder + "/rows");
  const Start start{arma::rowvec(values.data(), K), arma::mat(values.data() + K, d, K), values.back()};
  const arma::mat X(rows.data(), d, n, false);
  const std::vector<double> fitted = task == "kmeans" ? kmeans(X, start, iterations)
                                     : task == "full" ? mixture<arma::gmm_full>(X, start, iterations)
                                                      : mixture<arma::gmm_diag>(X, start, iterations);
  std::ofstream(folder + "/fitted", std::ios::binary)
      .write(reinterpret_cast<const char*>(fitted.data()), fitted.size() * sizeof(double));
}

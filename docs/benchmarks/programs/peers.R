# R's mixtures from given parameters: Rscript peers.R FOLDER task n d K kind iterations
# FOLDER/rows holds the rows (float64); FOLDER/start weights, means and one variance, or responsibilities.
# FOLDER/fitted becomes seconds, CPU seconds and what was fitted. Elapsed and CPU time are taken around the fit alone.
args <- commandArgs(trailingOnly = TRUE)
folder <- args[1]
n <- as.integer(args[3]); d <- as.integer(args[4]); K <- as.integer(args[5])
kind <- args[6]; iterations <- as.integer(args[7])
file_of <- function(name) file.path(folder, name)
numbers <- function(name) readBin(file_of(name), "double", file.size(file_of(name)) / 8)
X <- matrix(numbers("rows"), ncol = d, byrow = TRUE)
start <- numbers("start")

# Return the mean seconds and CPU seconds of calls of `fit` that take 0.2 s together, after one that warms up.
timed <- function(fit) {
  once <- max(system.time(fit())[["elapsed"]], 1e-3)
  count <- max(1, ceiling(0.2 / once))
  before <- proc.time(); begin <- Sys.time()
  for (i in seq_len(count)) fitted <- fit()
  elapsed <- as.numeric(difftime(Sys.time(), begin, units = "secs")); spent <- proc.time() - before
  list(seconds = c(elapsed, spent[["user.self"]] + spent[["sys.self"]]) / count, fitted = fitted)
}

mclust_normal <- function() {
  suppressMessages(library(mclust))
  name <- if (d == 1) c(full = "V")[[kind]] else c(full = "VVV", tied = "EEE", diag = "VVI", spherical = "VII")[[kind]]
  v <- tail(start, 1)
  variance <- list(
    modelName = name, d = d, G = K, sigmasq = rep(v, K), scale = rep(v, K), shape = matrix(1, d, K),
    sigma = array(v * diag(d), c(d, d, K)), cholsigma = array(sqrt(v) * diag(d), c(d, d, K)),
    Sigma = v * diag(d), cholSigma = sqrt(v) * diag(d)
  )
  parameters <- list(pro = start[1:K], mean = matrix(start[K + seq_len(K * d)], d, K), variance = variance)
  if (d == 1) parameters$mean <- as.vector(parameters$mean)
  control <- emControl(tol = c(0, 0), itmax = c(iterations, iterations))
  result <- timed(function() em(data = X, modelName = name, parameters = parameters, control = control))
  p <- result$fitted$parameters
  sigma <- if (d == 1) p$variance$sigmasq else p$variance$sigma
  c(result$seconds, p$pro, p$mean, sigma)
}

flexmix_fit <- function(model) {
  suppressMessages(library(flexmix))
  posterior <- matrix(start, ncol = K, byrow = TRUE)
  control <- list(iter.max = iterations, tolerance = 0, minprior = 0)
  timed(function() flexmix(X ~ 1, k = K, cluster = posterior, model = model(), control = control))
}

flexmix_normal <- function() {
  result <- flexmix_fit(function() FLXMCmvnorm(diagonal = kind == "diag"))
  p <- matrix(parameters(result$fitted), ncol = K)
  full <- if (nrow(p) == d + d * d) p[d + seq_len(d * d), ] else apply(p[d + seq_len(d), , drop = FALSE], 2, diag, nrow = d)
  c(result$seconds, prior(result$fitted), p[seq_len(d), ], full)
}

flexmix_binary <- function() {
  result <- flexmix_fit(FLXMCmvbinary)
  c(result$seconds, prior(result$fitted), parameters(result$fitted))
}

# mclust's choice among its models and 1 to 9 components: seconds, number of components, BIC.
mclust_choice <- function() {
  suppressMessages(library(mclust))
  result <- timed(function() mclustBIC(X, verbose = FALSE))
  best <- summary(result$fitted, X)
  c(result$seconds, best$G, best$bic)
}

writeBin(as.double(get(args[2])()), file_of("fitted"))

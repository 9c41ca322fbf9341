# Rscript docs/mclust_tables.R FOLDER [MORE]
#
# Writes for mclust_tables.py, of each data set, FOLDER/NAME.csv and NAME.json: mclust's table of BIC, the labels of its
# starts, and the CPU seconds of the table and of one fit. MORE is a folder of further NAME.csv.
suppressMessages(library(mclust))
arguments <- commandArgs(TRUE)
data(banknote, diabetes, wdbc, thyroid, package = "mclust")
load_baudry <- new.env()
data(Baudry_etal_2010_JCGS_examples, package = "mclust", envir = load_baudry)
columns <- c("Texture_mean", "Area_extreme", "Smoothness_extreme")
sets <- list(airquality = na.omit(airquality)[, 1:4], banknote = banknote[, -1], baudry_ex4_1 = load_baudry$ex4.1,
             diabetes = diabetes[, -1], faithful = faithful, iris = iris[, 1:4], swiss = swiss,
             thyroid = thyroid[, -1], usarrests = USArrests, wdbc3 = wdbc[, columns])
for (file in if (length(arguments) > 1) list.files(arguments[2], "[.]csv$", full.names = TRUE))
  sets[[sub("[.]csv$", "", basename(file))]] <- read.csv(file)
models <- mclust.options("emModelNames")
one_of <- c(iris = 3, faithful = 3, diabetes = 3, crabs = 4, thyroid = 3, wine = 3, banknote = 3)
seconds <- function(code) min(replicate(3, sum(system.time(code())[1:2])))
list_of <- function(values) paste0("[", paste(values, collapse = ","), "]")
number <- function(v) ifelse(is.na(v), "null", formatC(v, digits = 15, format = "g"))
for (name in names(sets)) {
  X <- as.matrix(sets[[name]])
  write.table(formatC(X, digits = 17, format = "g"), file.path(arguments[1], paste0(name, ".csv")), sep = ",",
              row.names = FALSE, quote = FALSE)
  table <- function() suppressWarnings(mclustBIC(X, G = 1:9, modelNames = models, verbose = FALSE))
  bic <- table()[, models]
  K <- if (is.na(one_of[name])) 3 else one_of[[name]]
  fit <- function() Mclust(X, G = K, modelNames = "VVV", verbose = FALSE)
  found <- fit()
  starts <- hclass(hc(X, use = mclust.options("hcUse")), 1:9) - 1
  cat(sprintf('{"bic":%s,"starts":%s,"cpu":%.4f,"fit":{"n_components":%d,"log_likelihood":%s,"cpu":%.4f}}\n',
              list_of(apply(bic, 1, function(row) list_of(number(row)))), list_of(apply(starts, 2, list_of)),
              seconds(table), K,
              if (is.null(found)) "null" else number(found$loglik), seconds(fit)),
      file = file.path(arguments[1], paste0(name, ".json")))
}

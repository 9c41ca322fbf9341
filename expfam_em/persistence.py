def save(estimator, path):
    raise NotImplementedError

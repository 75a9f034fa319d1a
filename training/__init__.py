"""How a release is made: point-in-time training sets, retrieval, ranking, evaluation."""

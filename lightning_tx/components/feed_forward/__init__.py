"""Group ``feed_forward``: the map each token passes by itself."""

"""C2, adapter bridging: is an adapter of about 10M weights nearly as good as one of 100M?"""

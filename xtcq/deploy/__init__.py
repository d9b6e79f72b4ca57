"""Packed models on other runtimes: an ONNX graph that computes with integers, and what runs it.

``export`` writes the graph, ``runtime`` runs texts through it, ``predict`` files of texts.
"""

"""Generative models: what will the user do next?"""

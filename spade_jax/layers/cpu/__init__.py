"""Forms of the layers that are exact and faster, most of them on CPUs only.

On a first reading, skip this folder: the layers contain the plain forms.
"""

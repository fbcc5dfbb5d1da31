"""The benchmark: times whole processes, compared side by side, on the sandbox; holds all timings.

``python -m bench`` measures everything, ``python -m bench preview up`` some parts. Each part is a module that prints a
Markdown table and writes it, with every single figure, to ``bench/NAME.json`` in the sandbox's folder. Variants are
measured alternately, so that changes of the machine's load affect all alike; figures are medians. ``WATCHPOST_HOSTS="1
4 16 64"`` sets the host counts for ``hosts`` and ``simulated``; the last takes ten minutes.
"""

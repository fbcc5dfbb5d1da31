"""The benchmark: times whole processes, side by side, on the sandbox. All timings are here.

``python -m bench`` measures everything, ``python -m bench preview up`` some parts. Each part is a module of its own
that prints a table in Markdown and writes it, with every single figure, to ``bench/NAME.json`` in the sandbox's
folder. What is compared is measured in turns, so that a change of the machine's load meets all alike; figures are
medians. ``WATCHPOST_HOSTS="1 4 16 64"`` says how many hosts the stacks of ``hosts`` and ``simulated`` have; the last
takes ten minutes.
"""

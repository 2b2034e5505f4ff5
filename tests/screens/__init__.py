"""The pictures of the README and of docs/screens/, taken from a demo: `python -m tests.screens [--var DIR] [NAME…]`.

Without `--var` it starts a demo of its own and stops it afterwards. With names it takes only the stories that these
are in. A name says page and look: `-phone` is 390 pixels wide, `-dark` is dark; without either, a desk in the light.
`gallery.py` has them all, in the order in which they are taken: what one story does, a later one shows.
"""

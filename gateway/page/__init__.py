"""The page on the admin listener: what came, where it went, why not, and the line of which file would change it.

routes.py    its routes, the strict headers of everything it serves, the log-in
feed.py      what changed in the last second, for as long as somebody looks
brief.py     one event in a row: how it stands at each destination, in words
story.py     one event in full, by running the stages again
places.py    the file and line that would change an outcome
overview.py  the equation, lanes, sources and warnings
mask.py      takes personal data and secrets out of everything above
static/      the page itself: one HTML file, one style sheet, a few ES modules; nothing to build

Everything is masked on this side: what the browser gets holds no personal data and no secret.
"""

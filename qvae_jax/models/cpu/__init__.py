"""Fast forms for the CPU, with the signatures of their plain forms in models/plain.py.

Nothing outside models/ imports them but losses.py; the models reach them through models/forms.py.
"""

"""Views: which of a source's items a target gets to see, in what shape and under which key.

``where`` says which items, ``shape`` what becomes of their attributes, ``template`` how their keys
are composed; ``lens`` puts them together and turns a change of the source into what is to be
written at the target.
"""

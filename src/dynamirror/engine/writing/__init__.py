"""How changes are written: one applier per target, what each guard sends, views, two-way rules."""

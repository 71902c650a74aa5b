"""What a daemon needs, read from templates/<daemon>/, and what each node of a topology shall run; pure, nothing is started."""

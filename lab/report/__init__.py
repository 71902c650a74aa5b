"""What a run of scenarios came to, and how it is told: on the terminal, in JSON. Values come in; nothing is run here."""

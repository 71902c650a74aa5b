"""The command line: commands over the stages, errors turned into exit statuses. click appears only here."""

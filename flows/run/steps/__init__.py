"""Single steps: what the words of a command or a form name, the stages that they ask for, and how a step ended."""

"""The training wing: clips (video, or sound with a picture drawn from it) -> pairs -> networks -> a model card."""

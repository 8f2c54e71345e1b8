"""Two models at one request: is the pair better than either?

A combiner is a ranker built from *members*, which are finished models: each is trained as if alone,
by its own settings, and its weights then stand still. What a combiner trains of its own is named
under its `model` and goes through the same training as every other model.

There is one way in which a member comes by its weights: it is a run. The run that its settings and
seed describe is looked for beside the combiner's folder; where there is none it is trained, under
`members` in that folder. So one command reproduces everything from one file, a comparison that
holds the members too trains none of them twice, and a path is never part of a result. Training
members and combiner in one go was left out: the pair would then differ from its parts in what was
trained, and not only in that they are together.

A combiner's cost is that of all its parts, training included. Weights of scores are fitted on the
validation part (`training.part: valid`), never on test; on the training part members are too sure
of what they have learned by heart.
"""

"""Learning from stored steps: what off-policy algorithms share.

loop.py          the training loop: act, store, draw, and learn in phases
learner.py       networks with their optimisers and slow copies, and the phases that learn them
values.py        values that are read by a head, such as a distribution
actor_critic.py  critics, and a policy that goes by them
imitation.py     the other loop: act, keep the best episodes, and imitate them
targets.py       the target and the loss of several critics
"""

"""k-means, from which the mixtures start: the same centres as by the plain algorithm, sooner.

`centres` holds the algorithms: k-means++, k-means||, Lloyd. They ask two things of the rows, the
distance to the nearest centre so far (`potential`) and which centre is nearest (`margins`,
which remembers what cannot have changed); `nearest` has the distances in float32 that both look
at first, and says how far these can be wrong.
"""

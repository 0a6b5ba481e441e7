# Debian's fence_compute and fence_evacuate call what Python has no more since 3.11. With it, they are as on the
# Python that they were written for.
import collections
import inspect

if not hasattr(inspect, "getargspec"):
    ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")

    def getargspec(function):
        return ArgSpec(*inspect.getfullargspec(function)[:4])

    inspect.getargspec = getargspec

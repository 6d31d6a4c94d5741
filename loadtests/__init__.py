"""
The site seen from outside: experiments, benchmarks and failures, over HTTP, on servers of its own.

- testbed: servers and a site to measure, its environment, and a check that all is restored afterwards.
- generators: load over HTTP, the mixed workload; locustfile.py holds the users of locust.
- lab: the shape of an experiment, its runner and its reports; experiments: the six.
- peers: what the site is measured beside: a bare function, and Django with DRF and cacheops.
- bench: requests as ratios, the comparison of two revisions, the costs of single parts.
- drills: servers killed and paused, chaos, lost events; degradation: every endpoint in every state.
- docs: figures and screenshots for the pages in docs/.
- stats: percentiles, intervals and ratios; markers: the part of a page that a command writes; arguments: values on the command line;
  quantities: figures by name, for people and for programs.
"""

"""
The site seen from outside: experiments, benchmarks and failures, over HTTP, on servers of its own.

Where to look:

- A site to measure: site, servers, preparation, arms (a site that is changed for a measurement).
- Requests and figures: load, measure, statement_log, surroundings, marks (the written part of a page).
- The lab (list, run, report): lab_commands, runner, lab, experiment (the shape of one), experiments/
  (the six), guessing, condition (is all put back?), results, reporting/.
- The bench: bench_command, bench, hot_paths, bench_report, compare (two revisions).
- Figures for the docs: figures_command, figures, mix, pictures.
- Made-up users: load_command, locustfile.
- The degradation matrix: matrix, states, usecases, copies, degradation (its page).
- Failures: drill, chaos, outage.
- Costs: costs, profile, recording, places.
"""

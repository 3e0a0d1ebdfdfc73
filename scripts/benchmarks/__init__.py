"""CPU time per call and per message of gRPC runtimes, each side by itself, as ratios from one run.

How it works: for every round and every *peer* (a runtime on an event loop) a fresh pair of processes is started, one
server and one client, joined by one connection over loopback TCP. The pair warms up and is then measured on every
*workload*. Peers take turns inside a round, so what else the machine does falls on all of them; a cell of the table
is the median over the rounds. The processes are asked over their standard input and output, never over gRPC, and
asking costs the event loop under measurement nothing.

    tables       which workloads, peers and comparisons stand in one table (data)
    workloads    what a client does, written against the two shapes of ``echo``
    peers        how each runtime offers those shapes, one file a runtime
    worker       the measured process
    processes    starts workers, asks them, always ends them
    rounds       the interleaved run
    machine      what it ran on
    report       medians, ratios, the JSON document
    text         the same as text and Markdown
    picture      the same as SVG
    command      the command line
"""

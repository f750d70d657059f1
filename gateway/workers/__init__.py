"""`workers: n`: receiver processes beside the owner of the store (design §6).

    browsers ──► listening socket ──► receiver: door, normalise, enrich, consent ──┐
                 (inherited)      ──► receiver …                                   ├─ Unix sockets ──► owner: commit, lanes
                                  ──► receiver …                                  ─┘

The owner opens the public socket and hands it to n receivers; they hold nothing: what they prepared goes to the owner in frames
of as many hits as come one after the other, and a hit is answered when the owner has committed it. A receiver that dies is
started again and loses only hits it had not answered. When the owner ends, its receivers see the end of the Unix socket and end
too.

wire.py       frames on the Unix socket          owner.py     the owner's side: starts, serves and stops receivers
receiver.py   the process of a receiver          remote.py    the store and the meter, as a receiver has them
"""

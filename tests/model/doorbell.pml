/* ring/doorbell.h as a model: one sleeper, two ringer threads of one process, their store buffers,
 * the kernel's futex and socket, and the ringers' death at any step.
 *
 * Checked   no lost wakeup: the sleeper ends when it has seen all the news it cares for, or found
 *           the end of the socket. A run that leaves it asleep is an invalid end state, the error
 *           that pan looks for. With COUNT_RINGS also one ring per epoch, unless a thread with an
 *           older epoch came between (a search of its own: counting multiplies the states).
 * Memory    total store order. A plain store becomes visible when process `memory` gets to it; a
 *           full fence waits until all of the thread's stores are. The relaxed exchange of rung_ is
 *           taken to order nothing (on x86 it would); the release increment of the bell waits for
 *           the stores before it, and so does a send.
 * Time      a sleep on the bell ends by itself after its slice; the reactor is next. Slices that
 *           end are few (SLICES), so that none can hide a lost wakeup, unless the peer is dead.
 * Glances   with GLANCE a ringer may glance() before it check()s, after each batch.
 * Mutants   run_spin.py defines one of these at a time, and each must show an error:
 *           NO_SLEEPER_FENCE  NO_RINGER_FENCE  NO_SECOND_LOOK  BELL_READ_LATE  SPLIT_FUTEX
 *           SPLIT_EXCHANGE  FILTER_AFTER_EXCHANGE  NO_SOCKET_WATCH  NO_SLICE_ON_DEATH
 *           GLANCE_ONLY
 */
#define RINGERS 2
#ifndef MORE
#define MORE 1          /* the first ringer publishes this many batches more than the second, ... */
#endif
#ifndef BATCHES
#define BATCHES 1       /* ... which publishes these, with one check after each */
#endif
#define SLICES 1        /* sleeps on the bell that end by themselves while the peer lives */
#define MAX_EPOCH 16

#define ON_BELL 1       /* bits of the asleep word, as in doorbell.h */
#define IN_REACTOR 2
#define WANTS_ROOM 4
#define SLEEP_EPOCH 8

byte published[RINGERS];              /* news stored by each ringer, ... */
byte visible[RINGERS];                /* ... and what of it has reached memory */
bool is_room[RINGERS];                /* what its news are: records, or room */
byte asleep;                          /* the sleeper's word in memory, ... */
chan asleep_stores = [4] of { byte }; /* ... and its stores that are still on their way */
bool bell_moved;                      /* the ringers' word has changed since the sleeper read it */
byte word[RINGERS];                   /* what each ringer read of the asleep word */
byte rung;                            /* private to the ringers' process */
bool packet;                          /* one or more in the socket */
bool in_futex;
bool wants;                           /* whether the sleeper wants room too */
bool dead;                            /* the ringers' process */

#ifdef COUNT_RINGS                    /* ghost variables, which the algorithm does not have */
byte rings[MAX_EPOCH];                /* per epoch */
byte displaced[MAX_EPOCH];            /* how often another epoch took its place in rung */
#define forget_epoch skip
#else
#define forget_epoch epoch = 0
#endif

#define all(i) (BATCHES + (i == 0 -> MORE : 0))
#define cares(i) (!is_room[i] || wants)
#define news_from(i) (cares(i) && seen[i] < visible[i])

active proctype memory() {
end:
  do
  :: atomic { visible[0] < published[0] -> visible[0]++ }
  :: atomic { visible[1] < published[1] -> visible[1]++ }
  :: asleep_stores ? asleep
  od
}

#ifndef NO_DEATH
active proctype death() {
  if
  :: dead = true
  :: skip
  fi
}
#endif

#define is_of(w, e) (w / SLEEP_EPOCH == e)
#define on_its_way(w) (asleep_stores ?? [eval(w + (wants -> WANTS_ROOM : 0))])
#define in_use(e) (is_of(asleep, e) || is_of(rung, e) || is_of(word[0], e) || is_of(word[1], e) || \
                   on_its_way(e * SLEEP_EPOCH + ON_BELL) || \
                   on_its_way(e * SLEEP_EPOCH + IN_REACTOR))

/* Each atomic block below is one visible step and what is private to its thread. */
proctype ringer(byte i) {
  byte batch, old;
#ifdef GLANCE
  bool glancing;
#endif
  {
    skip;
publish:
    atomic {
      if
      :: batch == all(i) -> goto done
      :: else -> published[i]++; batch++
      fi
    };
#ifdef GLANCE
    if
    :: skip
    :: atomic { word[i] = asleep; glancing = true; goto ring }
    fi;
check:
#endif
    atomic {                                             /* check: fence, then look at asleep */
#ifndef NO_RINGER_FENCE
      visible[i] == published[i];
#endif
      word[i] = asleep
    };
ring:
    atomic {
      if
      :: word[i] == 0 -> goto next
      :: else
      fi;
#ifndef FILTER_AFTER_EXCHANGE
      if
      :: is_room[i] && (word[i] & WANTS_ROOM) == 0 -> word[i] = 0; goto next
      :: else
      fi
#endif
    };
#ifdef SPLIT_EXCHANGE
    old = rung;
#endif
    atomic {                                             /* exchange rung */
#ifndef SPLIT_EXCHANGE
      old = rung;
#endif
#ifdef COUNT_RINGS
      if
      :: rung != 0 && rung != word[i] -> displaced[rung / SLEEP_EPOCH]++
      :: else
      fi;
      if
      :: old != word[i] ->
        rings[word[i] / SLEEP_EPOCH]++;
        assert(rings[word[i] / SLEEP_EPOCH] <= 1 + displaced[word[i] / SLEEP_EPOCH])
      :: else
      fi;
#endif
      rung = word[i];
      if
      :: old == word[i] -> word[i] = 0; old = 0; goto next
      :: else -> old = 0
      fi;
#ifdef FILTER_AFTER_EXCHANGE
      if
      :: is_room[i] && (word[i] & WANTS_ROOM) == 0 -> word[i] = 0; goto next
      :: else
      fi
#endif
    };
    atomic {                                             /* the release increment, or the send */
      visible[i] == published[i];
      if
      :: (word[i] & IN_REACTOR) != 0 -> packet = true; word[i] = 0; goto next
      :: else -> bell_moved = true; word[i] = 0
      fi
    };
    in_futex = false;                                    /* FUTEX_WAKE, a step of its own */
next:
#ifdef GLANCE
    atomic {
      if
#ifndef GLANCE_ONLY
      :: glancing -> glancing = false; goto check
      :: !glancing -> goto publish
#else
      :: glancing = false; goto publish
#endif
      fi
    };
#else
    goto publish;
#endif
done:
    skip
  } unless { dead };
  atomic { batch = 0; word[i] = 0; old = 0 }                /* spares the search states */
}

proctype sleeper() {
  byte seen[RINGERS];
  byte epoch, how, slices;
  bool found, reactor_next, slice_ends;
look:
  atomic {
    found = news_from(0);
    if
    :: found -> seen[0] = visible[0]
    :: else
    fi
  };
  atomic {
    if
    :: news_from(1) -> seen[1] = visible[1]; found = true
    :: else
    fi;
    if
    :: (!cares(0) || seen[0] == all(0)) && (!cares(1) || seen[1] == all(1)) -> goto done
    :: else
    fi;
    if
    :: found -> reactor_next = false; goto look
    :: else
    fi
  };

#ifdef BELL_READ_LATE
  atomic {
#else
  atomic {                                               /* raise */
    bell_moved = false;                                  /* b = bell */
#endif
    if
    :: !reactor_next -> how = ON_BELL
    :: how = IN_REACTOR
    fi;
#ifdef COUNT_RINGS
    epoch++;
    assert(epoch < MAX_EPOCH);
#else
    epoch = 1;                      /* the lowest that nobody holds: as good as new, and */
    do                              /* the states stay few */
    :: in_use(epoch) -> epoch++
    :: else -> break
    od;
#endif
    asleep_stores ! epoch * SLEEP_EPOCH + how + (wants -> WANTS_ROOM : 0)
  };
#ifdef BELL_READ_LATE
  atomic { empty(asleep_stores); bell_moved = false };
#endif

#ifndef NO_SECOND_LOOK
  atomic {
#ifndef NO_SLEEPER_FENCE
    empty(asleep_stores);                                /* full fence, then the second look */
#endif
    if
    :: news_from(0) -> goto lower
    :: else
    fi
  };
  if
  :: news_from(1) -> goto lower
  :: else
  fi;
#endif

  if
  :: how == IN_REACTOR ->
    if
    :: atomic { packet -> packet = false }               /* an old packet is a spurious wakeup */
#ifndef NO_SOCKET_WATCH
    :: dead -> goto done                                 /* the socket's end */
#endif
    fi;
    reactor_next = false
  :: else ->
    if
    :: atomic { slices < SLICES -> slices++; slice_ends = true }
    :: skip
    fi;
#ifdef SPLIT_FUTEX
    if
    :: bell_moved -> goto lower
    :: !bell_moved
    fi;
    in_futex = true;
#else
    atomic {                                         /* FUTEX_WAIT: compares and sleeps at once */
      if
      :: bell_moved -> goto lower
      :: else -> in_futex = true
      fi
    };
#endif
    if
    :: !in_futex -> goto lower
#ifndef NO_SLICE_ON_DEATH
    :: atomic { slice_ends || dead -> in_futex = false; reactor_next = true }
#else
    :: atomic { slice_ends -> in_futex = false; reactor_next = true }
#endif
    fi;
    if
    :: atomic { forget_epoch; how = 0; slice_ends = false; goto look }
    :: skip             /* the word may stay up until the next raise, or come down first */
    fi
  fi;
lower:
  atomic { asleep_stores ! 0; forget_epoch; how = 0; slice_ends = false; goto look };
done:
  atomic { forget_epoch; how = 0; found = false; reactor_next = false; slice_ends = false }
}

init {
  atomic {
    if
    :: is_room[1] = true; wants = true
    :: is_room[1] = true
    :: skip
    fi;
    run sleeper();
    run ringer(0);
    run ringer(1)
  }
}

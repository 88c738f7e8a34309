/*
 * A file that moves between homes, for spin(1): the coordinator as `Leading` has it, and nodes as `Moving`,
 * `Taken` and `HandingOver` have it. One file of one block. Each step is atomic, and says what it is: the
 * same steps are taken with the code (replay.ts).
 *
 * What is simpler than the code:
 *  - A message of a block, and what a home says of one, takes no time; to give a copy up does. The messages
 *    have a model of their own (promela.ts).
 *  - `gave` is not said: it makes a node ask at once what it asks anyhow, every now and then.
 *  - A question what became of a move is asked when the coordinator is not at it any more: the other answer
 *    changes nothing. It is answered behind all that was committed before.
 *  - A node that comes back has no session before the one of its earlier life is over.
 *  - The coordinator keeps no file.
 *
 * A lease is two bits: the holder's (`held`), which ends first, and the home's (`known`). Values: see NEWEST.
 */
#ifndef NODES
#define NODES 2
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef ENDED
#define ENDED 1
#endif
/* Nodes that may become the home. */
#ifndef KEEPERS
#define KEEPERS 2
#endif
/* Which bytes a place has: none; some from before what was synced last; later ones; the newest. */
#define NOTHING 0
#define OLD 1
#define SYNCED 2
#define NEWEST 3
/* What processes may do with the block without asking. */
#define LOAD 1
#define STORE 2
/* The coordinator, as a node. */
#define C 0
#define P(x, y) ((x) * (NODES + 1) + (y))
#define M(n, m) ((n) * (MOVES + 1) + (m))
#define BIT(n) (1 << (n))
/* For whom a copy is given up whose session is over by now. */
#define NOBODY (NODES + 1)
#define SIZE (NODES + 1)
#define PAIRS (SIZE * SIZE)

/* Of a move: how far the coordinator is, */
#define TAKES 1
#define GIVES 2
#define COMMITS 3
#define OVER 4
/* what became of a request to a node, */
#define SENT 1
#define BUSY 2
#define YES 3
#define NO 4
#define DONE 5
/* where the home is with `give`, */
#define ENTERS 6
#define HOLDS 7
#define SETTLES 8
#define SAYS 9
/* and the next home with `handOver`. */
#define PREPARES 6
#define STORES 7

byte nth, other, count, was, peer;

/* Kept over the death of a node. */
byte home[SIZE] = 1; byte cand[SIZE]; byte seq[SIZE];
byte mem[SIZE]; byte disk[SIZE];
/* Its processes: what they may do, and whose lease they need, if not the home's that the inode names. */
byte acc[SIZE]; byte shown[SIZE];

/* Of one life of a node. */
bit alive[SIZE] = 1; bit heard[SIZE] = 1; bit open[SIZE] = 1;
byte taking[SIZE]; byte given[SIZE]; byte asked[SIZE]; byte layout[SIZE];
bit standing[SIZE]; bit prepared[SIZE]; bit adopted[SIZE];
/* By which move it stands still; whether the next home has been told; whether that has been lost since. */
byte frozen[SIZE]; bit told[SIZE]; bit keptLoss[SIZE];
/* The directory: the owner, who has a copy to read, for whom what is done. */
byte owner[SIZE]; byte sharers[SIZE]; byte served[SIZE]; byte servedTo[SIZE];

/* Links, by client and server, and the leases of the client there. */
bit up[PAIRS] = 1; bit held[PAIRS] = 1; bit known[PAIRS] = 1;
/* What is held is of an earlier life: processes watch it, and the node has no session by it. */
bit former[PAIRS];
/* What is on its way from the coordinator to its followers: changes until `sent`, the first of them up to
   `from`; answers, and behind how many changes. */
bit follows[SIZE] = 1; bit current[SIZE] = 1; bit catchesUp[SIZE]; byte upTo[SIZE]; byte sent[SIZE];
byte answer[SIZE * (MOVES + 1)];
byte commits; byte homeAt[MOVES + 1] = 1;

byte next = 1;
byte from[MOVES + 1]; byte to[MOVES + 1]; byte lead[MOVES + 1];
byte take[MOVES + 1]; byte give[MOVES + 1]; byte hand[MOVES + 1];
/* The block is to come with no other copy; the giver still hears the answer. */
bit alone[MOVES + 1]; bit hears[MOVES + 1];
/* The session is still that one: the giver's at the next home, the next home's as the giver has it, and as
   the next home had it when it prepared the file. */
bit ours[MOVES + 1]; bit theirs[MOVES + 1]; bit prep[MOVES + 1];

byte deaths = DEATHS; byte cuts = CUTS; byte ended = ENDED; bit calm; bit isHostLost; bit rests;

#define isAt(m) (lead[m] == TAKES || lead[m] == GIVES || lead[m] == COMMITS)
#define isLinked(x, y) (up[P(x, y)] && alive[x] && alive[y])
#define isIn(x, y) (isLinked(x, y) && held[P(x, y)] && known[P(x, y)] && !former[P(x, y)])
#define isHome(n) (home[n] == n)
#define hasCopy(x, h) (owner[h] == x || (sharers[h] & BIT(x)) != 0)
#define isHeld(h, x) (frozen[h] != 0 && (to[frozen[h]] != x || !theirs[frozen[h]]))
#define hasApplied(n) (!follows[n] || seq[n] == commits)
#ifdef BROKEN_QUIET
#define isQuiet(h, x) 1
#else
#define isQuiet(h, x) (served[h] == 0 || served[h] == x)
#endif
#ifdef BROKEN_STILL
#define standsStill(n) 0
#else
#define standsStill(n) (frozen[n] != 0)
#endif
#define isGone(m) (m == 0 || !isAt(m))
/* By chance a move would hardly ever come far. */
#ifdef SIMULATED
#define mayCalm (next > MOVES && isGone(next - 1))
#define mayFail(m) (rare > 0 || !isAt(m))
#define fails(m) rare = (isAt(m) -> rare - 1 : rare)
byte rare;
#else
#define mayCalm 1
#define mayFail(m) 1
#define fails(m) skip
#endif

#define each(v) v = 1; do :: v <= NODES
#define eachMove(v) v = 1; do :: v <= MOVES
#define then(v) v++ :: else -> break od; v = 0

/* What is compared with the code. */
#define says(n) printf("= %d %d %d %d %d %d %d\n", \
  n, home[n], taking[n] != 0, given[n] != 0, cand[n], acc[n], frozen[n] != 0)

/* INVARIANT: who may store is alone, and who may load has the newest. One node at most is the home, and may
   let others have the block. */
inline check() {
  printf("= 0 %d %d %d\n", next - 1, isAt(next - 1), home[C]);
  other = 0; count = 0; peer = 0;
  each(nth) ->
    if :: acc[nth] == STORE -> count++ :: else fi;
    if :: acc[nth] != 0 -> peer++; assert(mem[nth] == NEWEST) :: else fi;
    if :: alive[nth] && isHome(nth) && open[nth] && given[nth] == 0 -> other++ :: else fi;
    says(nth);
  then(nth);
  assert(count == 0 || peer == 1);
  assert(other <= 1);
  other = 0; count = 0; peer = 0
}

inline stores(n) {
  each(nth) ->
    if :: mem[nth] == NEWEST -> mem[nth] = SYNCED :: else fi;
    if :: disk[nth] == NEWEST -> disk[nth] = SYNCED :: else fi;
  then(nth);
  mem[n] = NEWEST }

inline syncs(n) {
  each(nth) ->
    if :: mem[nth] == SYNCED -> mem[nth] = OLD :: else fi;
    if :: disk[nth] == SYNCED -> disk[nth] = OLD :: else fi;
  then(nth);
  disk[n] = NEWEST }

/* What was stored into it last is lost with whoever had it: what is at home is the newest again. */
inline reverts(h) {
  if
  :: mem[h] != NEWEST ->
     assert(mem[h] == SYNCED);
     each(nth) ->
       assert(nth == h || acc[nth] == 0);
       if :: mem[nth] == NEWEST -> mem[nth] = OLD :: else fi;
       if :: disk[nth] == NEWEST -> disk[nth] = OLD :: else fi;
     then(nth);
     mem[h] = NEWEST
  :: else
  fi }

/* Blocks. */

#define isInTheWay(h, x) (x != served[h] && \
  (owner[h] == x || (servedTo[h] == STORE && (sharers[h] & BIT(x)) != 0)))

/* Who waits gets the block when nobody is in the way. */
inline resolves(h) {
  if
  :: served[h] != 0 ->
     count = 0; each(nth) -> if :: isInTheWay(h, nth) -> count++ :: else fi; then(nth);
     if
     :: count == 0 && served[h] == NOBODY -> served[h] = 0; servedTo[h] = 0
     :: count == 0 && served[h] != NOBODY && (served[h] == h || isIn(served[h], h)) ->
        assert(mem[h] == NEWEST);
        if
        :: servedTo[h] == STORE -> owner[h] = served[h]; sharers[h] = 0
        :: else -> sharers[h] = sharers[h] | BIT(served[h])
        fi;
        acc[served[h]] = servedTo[h]; mem[served[h]] = NEWEST;
        served[h] = 0; servedTo[h] = 0
     :: else
     fi;
     count = 0
  :: else
  fi }

inline asks(x, h, what) {
  served[h] = x; servedTo[h] = what; resolves(h) }

inline yields(x, h) {
  if :: owner[h] == x ->
        owner[h] = 0;
        if :: acc[x] == STORE || (prepared[x] && acc[x] != 0) -> mem[h] = mem[x] :: else fi;
        if :: servedTo[h] == LOAD && mem[x] == NEWEST && acc[x] != 0 ->
              sharers[h] = sharers[h] | BIT(x); acc[x] = LOAD
           :: else -> acc[x] = 0
        fi
     :: else -> acc[x] = 0; sharers[h] = sharers[h] & ~BIT(x)
  fi;
  prepared[x] = 0;
  if :: acc[x] == 0 && x != h && !isHome(x) -> mem[x] = NOTHING :: else fi;
  resolves(h) }

/* The session of x is over at h. */
inline loses(x, h) {
  sharers[h] = sharers[h] & ~BIT(x);
  if :: owner[h] == x -> owner[h] = 0; reverts(h) :: else fi;
  resolves(h) }

inline forgetsDirectory(h) {
  owner[h] = 0; sharers[h] = 0; served[h] = 0; servedTo[h] = 0; keptLoss[h] = 0 }

/* The lease of x on what y keeps is over, or a new one begins. */
inline fences(x, y) {
  eachMove(nth) ->
    if :: from[nth] == x && to[nth] == y -> ours[nth] = 0 :: else fi;
    if :: to[nth] == x && from[nth] == y -> prep[nth] = 0 :: else fi;
  then(nth);
  if
  :: shown[x] == y ->
     acc[x] = 0;
     /* What is here is kept beside the pages. */
     if :: isHome(x) && alive[x] -> sharers[x] = sharers[x] & ~BIT(x); resolves(x) :: else fi
  :: !isHome(x) && home[x] == y && shown[x] == 0 ->
     acc[x] = 0;
     if :: cand[x] == 0 && !prepared[x] -> mem[x] = NOTHING :: else fi
  :: else
  fi }

/* Nodes, and what they do about a move. */

/* HandingOver.takeBack. */
inline takesBack(n) {
  was = frozen[n];
  frozen[n] = 0; told[n] = 0;
  if :: keptLoss[n] -> keptLoss[n] = 0; loses(to[was], n) :: else fi;
  was = 0 }

/* Moving.#stays. */
inline stays(n) {
  if
  :: given[n] != 0 ->
     given[n] = 0; shown[n] = 0; layout[n] = 0;
     takesBack(n)
  :: else
  fi }

/* Moving.#forget. */
inline forgets(n) {
  if
  :: taking[n] != 0 ->
     if
     :: prepared[n] && !(prep[taking[n]] && held[P(n, from[taking[n]])]) -> acc[n] = 0; mem[n] = NOTHING
     :: else
     fi;
     taking[n] = 0; standing[n] = 0; prepared[n] = 0;
     if :: adopted[n] -> adopted[n] = 0; forgetsDirectory(n) :: else fi;
     cand[n] = 0; disk[n] = NOTHING
  :: else
  fi }

inline owns(n) {
  if :: owner[n] == 0 && sharers[n] == 0 -> owner[n] = n :: else fi;
  acc[n] = (owner[n] == n -> STORE : ((sharers[n] & BIT(n)) != 0 -> LOAD : 0)) }

/* Moving.changed: the inode says that h is the home. */
inline changed(n, h) {
  was = home[n];
  if
  :: was != h ->
     home[n] = h;
     if
     :: was == n ->
        if :: given[n] != 0 && to[given[n]] == h -> skip :: else -> acc[n] = 0; mem[n] = NOTHING fi;
        if :: given[n] != 0 -> layout[n] = 0 :: else fi;
        given[n] = 0; asked[n] = 0; shown[n] = 0; frozen[n] = 0; told[n] = 0; disk[n] = NOTHING;
        forgetsDirectory(n)
     :: was != n && h != n ->
        forgets(n); acc[n] = 0; mem[n] = NOTHING
     :: else ->
        assert(cand[n] != 0);
        taking[n] = 0; standing[n] = 0; prepared[n] = 0; adopted[n] = 0; cand[n] = 0;
        /* The file stood still, but for processes here. */
        assert((mem[n] == NEWEST || isHostLost) && mem[n] >= SYNCED && disk[n] >= SYNCED);
        if :: open[n] -> reverts(n); owns(n) :: else fi
     fi
  :: else
  fi;
  was = 0 }

/* Moving.give has failed. */
inline givesUp(m) {
  if :: layout[from[m]] == m -> layout[from[m]] = 0; takesBack(from[m]) :: else fi;
  give[m] = NO }

/* Links. */

/* That over which x follows the coordinator, */
inline breaksFollowing(x) {
  up[P(x, C)] = 0; current[x] = 0; catchesUp[x] = 0; upTo[x] = 0; sent[x] = 0;
  eachMove(nth) -> answer[M(x, nth)] = 0; then(nth) }

/* that over which it is asked by the coordinator, */
inline breaksLeading(y) {
  up[P(C, y)] = 0;
  eachMove(nth) ->
    if
    :: to[nth] == y && take[nth] != 0 ->
       if :: take[nth] != BUSY -> take[nth] = DONE :: else fi;
       if :: lead[nth] == TAKES -> lead[nth] = OVER :: else fi
    :: else
    fi;
    if
    :: from[nth] == y && give[nth] != 0 ->
       if :: give[nth] == SENT || give[nth] == YES || give[nth] == NO -> give[nth] = DONE :: else fi;
       if :: lead[nth] == GIVES -> lead[nth] = OVER :: else fi
    :: else
    fi;
  then(nth) }

/* and that over which it uses what y keeps. */
inline breaks(x, y) {
  up[P(x, y)] = 0;
  eachMove(other) ->
    if
    :: from[other] == x && to[other] == y ->
       hears[other] = 0;
       if :: hand[other] == SENT || hand[other] == YES || hand[other] == NO -> hand[other] = DONE :: else fi;
       if :: give[other] == SAYS -> givesUp(other) :: else fi
    :: else
    fi;
  then(other) }

/* The process of a node ends; those who use its files go on. */
inline dies(n) {
  alive[n] = 0;
  heard[n] = 0; open[n] = 0; taking[n] = 0; given[n] = 0; asked[n] = 0; layout[n] = 0;
  standing[n] = 0; prepared[n] = 0; adopted[n] = 0; frozen[n] = 0; told[n] = 0;
  forgetsDirectory(n);
  eachMove(other) ->
    if :: to[other] == n ->
          if :: take[other] == BUSY -> take[other] = DONE :: else fi;
          if :: hand[other] == PREPARES || hand[other] == STORES -> hand[other] = DONE :: else fi;
          prep[other] = 0
       :: else
    fi;
    if :: from[other] == n ->
          if :: give[other] == ENTERS || give[other] == HOLDS || give[other] == SETTLES || give[other] == SAYS ->
                give[other] = DONE
             :: else
          fi;
          ours[other] = 0; theirs[other] = 0
       :: else
    fi;
  then(other);
  each(peer) ->
    if
    :: peer != n ->
       known[P(peer, n)] = 0; breaks(peer, n);
       /* Nothing of n's is under way. */
       up[P(n, peer)] = 0;
       eachMove(other) ->
         if
         :: from[other] == n && to[other] == peer ->
            hears[other] = 0;
            if :: hand[other] == SENT || hand[other] == YES || hand[other] == NO -> hand[other] = DONE
               :: else
            fi
         :: else
         fi;
       then(other)
    :: else
    fi;
  then(peer);
  breaksFollowing(n); breaksLeading(n) }

inline leasesEnd(n) {
  each(nth) -> held[P(n, nth)] = 0; former[P(n, nth)] = 0; then(nth) }

inline startsAgain(n) {
  alive[n] = 1; shown[n] = 0;
  if
  :: isHome(n) -> cand[n] = 0; acc[n] = 0; leasesEnd(n)
#ifndef BROKEN_CANDIDATE
  :: !isHome(n) && cand[n] != 0 ->
     taking[n] = cand[n]; standing[n] = 1; prepared[n] = 1;
     each(nth) -> former[P(n, nth)] = held[P(n, nth)]; then(nth)
#endif
  :: else -> cand[n] = 0; acc[n] = 0; mem[n] = NOTHING; disk[n] = NOTHING; leasesEnd(n)
  fi }

inline begins(h) {
  from[next] = home[C]; to[next] = h; lead[next] = TAKES; take[next] = SENT;
  run move(next, home[C], h);
  printf("@ begin %d %d %d\n", next, home[C], h);
  next++ }

proctype coordinator() {
  end: do
  :: atomic { alive[C] && !calm && next <= MOVES && isGone(next - 1) && home[C] != 1 && up[P(C, 1)] ->
       begins(1) }
  :: atomic { alive[C] && !calm && next <= MOVES && isGone(next - 1) && home[C] != 2 && up[P(C, 2)] ->
       begins(2) }
#if KEEPERS > 2
  :: atomic { alive[C] && !calm && next <= MOVES && isGone(next - 1) && home[C] != 3 && up[P(C, 3)] ->
       begins(3) }
#endif
  :: d_step { alive[C] && !calm && deaths > 0 ->
       deaths--; alive[C] = 0;
       printf("@ die %d\n", C);
       eachMove(peer) -> if :: isAt(peer) -> lead[peer] = OVER :: else fi; then(peer);
       each(peer) -> follows[peer] = 0; breaksFollowing(peer); breaksLeading(peer); then(peer) }
  :: d_step { !alive[C] -> alive[C] = 1; printf("@ restart %d\n", C) }
  :: d_step { !calm && mayCalm -> calm = 1 }
  od
}

/* The block is known here: with a copy at the giver, or none. */
inline adopts(m) {
  adopted[b] = 1;
  if
  :: acc[b] == STORE -> owner[b] = b; sharers[b] = 0
  :: else -> owner[b] = 0; sharers[b] = BIT(a) | BIT(b)
  fi }

#define isAnswered(n) (answer[M(n, m)] != 0 && answer[M(n, m)] <= seq[n] + 1 && alive[n])
inline hearsEnd(n) {
  answer[M(n, m)] = 0;
#ifdef BROKEN_NUMBER
  stays(n); forgets(n);
#elif !defined(BROKEN_DEAF)
  if :: given[n] == m -> stays(n) :: else fi;
  if :: taking[n] == m -> forgets(n) :: else fi;
#endif
  printf("@ over %d %d\n", m, n); check() }

/* Requests of one link arrive in their order. */
#define isFirst(m) (m == 1 || !( \
  (take[m-1] == SENT && (to[m-1] == arrivesAt)) || (give[m-1] == SENT && (from[m-1] == arrivesAt))))

/* From a to b. */
proctype move(byte m, a, b) {
  end: do
  /* The coordinator. */
  :: d_step { lead[m] == TAKES && ended > 0 && !calm ->
       ended--; lead[m] = OVER; printf("@ abort %d\n", m) }
  :: d_step { lead[m] == TAKES && (take[m] == YES || take[m] == NO) ->
       if
       :: take[m] == YES && up[P(C, a)] -> lead[m] = GIVES; give[m] = SENT
       :: else -> lead[m] = OVER
       fi;
       printf("@ taken %d %d %d\n", m, take[m] == YES, up[P(C, a)]);
       take[m] = DONE }
  :: d_step { lead[m] == GIVES && give[m] == YES ->
       give[m] = DONE; lead[m] = COMMITS; home[C] = b;
       commits++; homeAt[commits] = b;
       each(nth) -> if :: up[P(nth, C)] -> sent[nth] = commits :: else fi; then(nth);
       printf("@ commit %d\n", m) }
  :: d_step { lead[m] == GIVES && give[m] == NO -> give[m] = DONE; lead[m] = OVER;
       printf("@ failed %d\n", m) }
  :: d_step { lead[m] == COMMITS && hasApplied(1) && hasApplied(2) && (NODES < 3 || hasApplied(NODES)) ->
       lead[m] = OVER; printf("@ moved %d\n", m) }

  /* The next home: Moving.take. */
#define arrivesAt b
  :: d_step { take[m] == SENT && isLinked(C, b) && open[b] && isFirst(m) ->
       if
       :: home[b] != a || taking[b] > m -> take[m] = NO
       :: else ->
          forgets(b);
          taking[b] = m; take[m] = BUSY
       fi;
       printf("@ take %d %d\n", m, take[m]); check() }
#undef arrivesAt
  :: d_step { take[m] == BUSY ->
       take[m] = (taking[b] == m && isIn(b, a) && isHome(a) && open[a] -> YES : NO);
       printf("@ brought %d %d\n", m, take[m]);
       if :: lead[m] != TAKES -> take[m] = DONE :: else fi }
  :: d_step { taking[b] == m && take[m] == DONE && hand[m] <= SENT && cand[b] != m && mayFail(m) ->
       fails(m); forgets(b); printf("@ abandon %d\n", m); check() }

  /* The home until now: Moving.give. */
#define arrivesAt a
  :: d_step { give[m] == SENT && isLinked(C, a) && open[a] && isFirst(m) ->
       if
       :: !isHome(a) || asked[a] > m -> give[m] = NO
       :: else -> asked[a] = m; stays(a); give[m] = ENTERS
       fi;
       printf("@ give %d %d\n", m, give[m]); check() }
#undef arrivesAt
  :: d_step { give[m] == ENTERS && isIn(a, b) ->
       ours[m] = 1; theirs[m] = known[P(b, a)];
       if :: theirs[m] -> give[m] = HOLDS :: else -> givesUp(m) fi;
       printf("@ enter %d %d\n", m, give[m]) }
  :: d_step { give[m] == HOLDS && layout[a] == 0 ->
       if
       :: !isHome(a) || asked[a] > m -> givesUp(m)
       :: else -> layout[a] = m; frozen[a] = m; give[m] = SETTLES
       fi;
       printf("@ hold %d %d\n", m, give[m]) }
  :: d_step { give[m] == SETTLES && isLinked(a, b) && isQuiet(a, b) ->
       if
       :: asked[a] > m || !theirs[m] -> givesUp(m)
       :: else ->
          told[a] = 1; hand[m] = SENT; hears[m] = 1; give[m] = SAYS;
          alone[m] = ((owner[a] != 0 && owner[a] != a && owner[a] != b) ||
            (sharers[a] & ~(BIT(a) | BIT(b))) != 0);
#ifdef BROKEN_ALONE
          alone[m] = 0
#endif
       fi;
       printf("@ say %d %d %d\n", m, give[m], alone[m]); check() }
  /* It takes too long. */
  :: d_step { (give[m] == ENTERS || give[m] == SETTLES) && mayFail(m) ->
       fails(m);
       printf("@ late %d %d\n", m, give[m]); givesUp(m); check() }
  :: d_step { give[m] == SAYS && isLinked(a, b) && (hand[m] == YES || hand[m] == NO) ->
       if
       :: hand[m] == NO || asked[a] > m || !theirs[m] || !ours[m] -> givesUp(m)
       :: else ->
          given[a] = m; give[m] = YES;
#ifndef BROKEN_SHOWN
          shown[a] = b
#endif
       fi;
       hand[m] = DONE;
       printf("@ given %d %d\n", m, give[m]); check() }

  /* The next home: Moving.handOver. */
  :: d_step { hand[m] == SENT && isLinked(a, b) && open[b] ->
       if
       :: taking[b] != m || home[b] != a || !ours[m] -> hand[m] = NO
       :: else -> standing[b] = 1; prep[m] = held[P(b, a)]; hand[m] = PREPARES
       fi;
       printf("@ handOver %d %d\n", m, hand[m]) }
  :: d_step { hand[m] == PREPARES && taking[b] == m && acc[b] < (alone[m] -> STORE : LOAD) &&
       isIn(b, a) && prep[m] && isHome(a) && open[a] && served[a] == 0 && !isHeld(a, b) ->
       asks(b, a, (alone[m] -> STORE : LOAD)); printf("@ fetch %d\n", m); check() }
  :: d_step { hand[m] == PREPARES && (taking[b] != m || !prep[m] ||
       (acc[b] >= (alone[m] -> STORE : LOAD) && served[a] != b)) ->
       if
       :: taking[b] != m || !prep[m] -> hand[m] = NO
       :: else ->
          prepared[b] = 1; cand[b] = m; hand[m] = STORES
#ifdef BROKEN_EARLY
          ; adopts(m); hand[m] = YES
#endif
       fi;
       printf("@ prepare %d %d\n", m, hand[m]); check() }
  /* It takes too long. */
  :: d_step { hand[m] == PREPARES && acc[b] < (alone[m] -> STORE : LOAD) && mayFail(m) ->
       fails(m);
       hand[m] = NO; printf("@ missed %d\n", m) }
  :: d_step { hand[m] == STORES ->
       if :: taking[b] == m -> disk[b] = mem[b] :: else fi;
       if
       :: taking[b] != m || !prepared[b] || !prep[m] || !hears[m] -> hand[m] = NO
       :: else -> adopts(m); hand[m] = YES
       fi;
       if :: !hears[m] -> hand[m] = DONE :: else fi;
       printf("@ store %d %d\n", m, hand[m]); check() }

#ifdef BROKEN_COMMIT
  :: d_step { given[a] == m && !isLinked(a, C) -> stays(a); printf("@ alone %d\n", m); check() }
#endif
#ifdef BROKEN_WAIT
#define isAsked(n) 0
#else
#define isAsked(n) ((given[n] == m || taking[n] == m) && !isAt(m) && isLinked(n, C) && current[n] && \
  answer[M(n, m)] == 0)
#endif

  /* Nothing of it matters any more. */
  :: d_step { !isAt(m) && ours[m] + theirs[m] + prep[m] + hears[m] + alone[m] != 0 &&
       (hand[m] == DONE || hand[m] == 0) && (give[m] == DONE || give[m] == 0) &&
       taking[b] != m && given[a] != m ->
       ours[m] = 0; theirs[m] = 0; prep[m] = 0; hears[m] = 0; alone[m] = 0 }

  /* What became of it. */
  :: d_step { isAsked(a) -> answer[M(a, m)] = sent[a] + 1; printf("@ ask %d %d\n", m, a) }
  :: d_step { isAsked(b) -> answer[M(b, m)] = sent[b] + 1; printf("@ ask %d %d\n", m, b) }
  :: d_step { isAnswered(a) -> hearsEnd(a) }
  :: d_step { isAnswered(b) -> hearsEnd(b) }
  od
}

/* Nothing that is on its way stands before the next change. */
#define mayHear(n) (answer[M(n, 1)] == 0 || answer[M(n, 1)] > seq[n] + 1) && \
  (MOVES < 2 || answer[M(n, MOVES)] == 0 || answer[M(n, MOVES)] > seq[n] + 1) && \
  (MOVES < 3 || answer[M(n, MOVES - 1)] == 0 || answer[M(n, MOVES - 1)] > seq[n] + 1)

#define mayOpen(n) (isFree(1, n) && isFree(2, n) && (NODES < 3 || isFree(NODES, n)))
#define isFree(x, n) (x == n || !held[P(x, n)] || known[P(x, n)])

proctype node(byte n) {
  end: do
  :: d_step { isLinked(n, C) && mayHear(n) && (catchesUp[n] || seq[n] < sent[n]) ->
       seq[n] = (catchesUp[n] -> upTo[n] : seq[n] + 1);
       catchesUp[n] = 0; upTo[n] = 0; current[n] = 1; heard[n] = 1;
       changed(n, homeAt[seq[n]]);
       printf("@ hear %d %d\n", n, home[n]); check() }
  :: d_step { !up[P(n, C)] && follows[n] && alive[C] -> follows[n] = 0 }

  :: d_step { alive[n] && !calm && deaths > 0 -> deaths--; dies(n); printf("@ die %d\n", n); check() }
  /* Its host, too. */
  :: d_step { !alive[n] && !calm && (mem[n] != disk[n] || acc[n] != 0) ->
       acc[n] = 0; leasesEnd(n); mem[n] = disk[n]; isHostLost = 1; printf("@ loseHost %d\n", n); check() }
  :: d_step { !alive[n] -> startsAgain(n); printf("@ restart %d\n", n); check() }
  /* The leases of an earlier life are over. */
  :: d_step { alive[n] && heard[n] && !open[n] && mayOpen(n) ->
       open[n] = 1;
       if :: isHome(n) -> reverts(n); owns(n) :: else fi;
       printf("@ open %d\n", n); check() }

  /* Its processes. */
  :: d_step { acc[n] == STORE && !calm && mem[n] == NEWEST -> stores(n) ;
       printf("@ write %d\n", n); check() }
  :: d_step { alive[n] && isHome(n) && open[n] && !calm && frozen[n] == 0 && mem[n] == NEWEST &&
       disk[n] != NEWEST &&
       acc[n] != 0 -> syncs(n); printf("@ sync %d\n", n) }
  :: d_step { alive[n] && isHome(n) && open[n] && !calm && acc[n] < STORE && served[n] == 0 &&
       !standsStill(n) ->
       asks(n, n, STORE); printf("@ own %d %d\n", n, n); check() }
  :: d_step { alive[n] && isHome(n) && served[n] != 0 && isInTheWay(n, n) ->
       yields(n, n); printf("@ yield %d %d\n", n, n); check() }
  od
}


/* user uses what keeper keeps. */
proctype use(byte user, keeper) {
  end: do
  :: d_step { isLinked(user, keeper) && cuts > 0 && !calm -> cuts--; breaks(user, keeper);
       printf("@ cut %d %d\n", user, keeper);
       check() }
  :: d_step { !up[P(user, keeper)] && alive[user] && alive[keeper] && heard[user] && heard[keeper] ->
       up[P(user, keeper)] = 1; resolves(keeper); printf("@ link %d %d\n", user, keeper);
       check() }
  /* The lease: it ends where it is held, and later where it was given. */
  :: d_step { held[P(user, keeper)] && (!isLinked(user, keeper) || former[P(user, keeper)]) ->
       held[P(user, keeper)] = 0; former[P(user, keeper)] = 0; fences(user, keeper);
       printf("@ fence %d %d\n", user, keeper); check() }
  :: d_step { known[P(user, keeper)] && !held[P(user, keeper)] && alive[keeper] ->
       known[P(user, keeper)] = 0;
       eachMove(nth) -> if :: to[nth] == user && from[nth] == keeper -> theirs[nth] = 0 :: else fi; then(nth);
       if :: served[keeper] == user -> served[keeper] = NOBODY :: else fi;
       if
       :: told[keeper] && to[frozen[keeper]] == user -> keptLoss[keeper] = 1
       :: else -> loses(user, keeper)
       fi;
       printf("@ reclaim %d %d\n", user, keeper); check() }
  :: d_step { isLinked(user, keeper) && !known[P(user, keeper)] && !former[P(user, keeper)] ->
       if :: held[P(user, keeper)] -> fences(user, keeper) :: else fi;
       held[P(user, keeper)] = 1; known[P(user, keeper)] = 1;
       printf("@ welcome %d %d\n", user, keeper); check() }

  :: d_step { !calm && home[user] == keeper && isHome(keeper) && open[keeper] && isIn(user, keeper) &&
       open[user] && served[keeper] == 0 &&
       !standing[user] && !isHeld(keeper, user) && acc[user] == 0 -> asks(user, keeper, LOAD);
       printf("@ load %d %d\n", user, keeper);
       check() }
  :: d_step { !calm && home[user] == keeper && isHome(keeper) && open[keeper] && isIn(user, keeper) &&
       open[user] && served[keeper] == 0 &&
       !standing[user] && !isHeld(keeper, user) && acc[user] < STORE -> asks(user, keeper, STORE);
       printf("@ own %d %d\n", user, keeper);
       check() }
  :: d_step { isIn(user, keeper) && isHome(keeper) && served[keeper] != 0 && isInTheWay(keeper, user) ->
       yields(user, keeper); printf("@ yield %d %d\n", user, keeper); check() }
  od
}

/* The coordinator's links: it asks user, and user follows it. */
proctype follower(byte user) {
  end: do
  :: d_step { isLinked(C, user) && cuts > 0 && !calm -> cuts--; breaksLeading(user);
       printf("@ cut %d %d\n", C, user);
       check() }
  :: d_step { isLinked(user, C) && cuts > 0 && !calm -> cuts--; breaksFollowing(user);
       printf("@ cut %d %d\n", user, C) }
  :: d_step { !up[P(C, user)] && alive[C] && alive[user] && heard[user] -> up[P(C, user)] = 1;
       printf("@ link %d %d\n", C, user) }
  :: d_step { !up[P(user, C)] && alive[C] && alive[user] ->
       up[P(user, C)] = 1; follows[user] = 1; catchesUp[user] = 1; upTo[user] = commits; sent[user] = commits;
       printf("@ link %d %d\n", user, C) }
  od
}

/* When nothing breaks any more, and nobody asks for anything, everything comes to an end. */
proctype rest() {
  byte n;
  timeout -> atomic {
    printf("@ rest\n"); rests = 1;
    assert(calm);
    eachMove(n) -> assert(!isAt(n)); then(n);
    each(n) ->
      assert(alive[n] && open[n] && current[n] && home[n] == home[C]);
      assert(taking[n] == 0 && given[n] == 0 && cand[n] == 0 && frozen[n] == 0 && layout[n] == 0);
      assert(!standing[n] && !prepared[n] && !adopted[n] && served[n] == 0 && shown[n] == 0);
    then(n);
    n = home[C];
    if :: owner[n] == 0 -> skip :: owner[n] != 0 -> n = owner[n] fi;
    assert(mem[n] == NEWEST)
  }
}

#ifdef ENDS
ltl ends { <>calm -> <>rests }
#endif

init { atomic {
#ifdef SIMULATED
  if :: rare = 0 :: rare = 0 :: rare = 1 :: rare = 2 fi;
#endif
  owner[1] = 1; acc[1] = STORE; mem[1] = NEWEST; disk[1] = NEWEST;
  run coordinator();
  run node(1); run node(2); run follower(1); run follower(2); run use(1, 2); run use(2, 1);
#if NODES > 2
  run node(3); run follower(3); run use(1, 3); run use(3, 1); run use(2, 3); run use(3, 2);
#endif
  run rest()
} }

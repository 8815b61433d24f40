"""python -m mutations [WORD ...]: breaks the code on purpose and shows that the suite notices.

Each mutant whose name has one of the words, else all. The exit code is 1 if a mutant survives, if one is stale, or if
the tests fail without any mutant.
"""

import sys

from mutations.daemons import DAEMONS
from mutations.partitions import PARTITIONS
from mutations.resting import RESTING
from mutations.run import Result, copied, prove, without_mutants
from mutations.scripts import SCRIPTS
from mutations.store import STORE
from mutations.turns import TURNS


def main() -> int:
    words = sys.argv[1:]
    chosen = [
        mutant
        for mutant in [*SCRIPTS, *DAEMONS, *RESTING, *STORE, *PARTITIONS, *TURNS]
        if not words or any(word.lower() in mutant.name.lower() for word in words)
    ]
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    print(f"{len(chosen)} mutants; first their {len(tests)} tests on the code as it is ...", flush=True)
    with copied() as origin:
        broken = without_mutants(tests, origin)
        if not chosen or broken:
            print(broken or "no mutant has such a name")
            return 1
        results = [_tell(prove(mutant, origin)) for mutant in chosen]
    caught = sum(result.verdict == "caught" for result in results)
    print(f"\n{caught} of {len(results)} mutants caught, in {sum(r.seconds for r in results):.0f} s")
    return 0 if caught == len(results) else 1


def _tell(result: Result) -> Result:
    print(f"  {result.verdict:8} {result.seconds:5.1f} s  {result.mutant.name}", flush=True)
    if result.verdict != "caught":
        print("\n".join(f"           not failed: {test}" for test in result.missed))
        print(result.output[-3_000:])
    return result


sys.exit(main())

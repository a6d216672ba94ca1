"""The environments of other libraries, as plain data: listing them imports nothing.

The tests of each suite compare its names with what its library registers.
"""

from __future__ import annotations

REQUIRES = {
    "craftax": "craftax>=1.6,<2",
    "xminigrid": "xminigrid>=0.9.3,<0.10",
    "playground": "playground>=0.2,<0.3",
    "navix": "navix>=0.7.4,<5",
    "jumanji": "jumanji>=1.1.2,<2",
    "jaxmarl": "jaxmarl>=0.2,<0.3",
}
"""What to install for each suite, the extras of `pyproject.toml`."""

CRAFTAX = {
    "symbolic": "Craftax-Symbolic-v1",
    "pixels": "Craftax-Pixels-v1",
    "classic-symbolic": "Craftax-Classic-Symbolic-v1",
    "classic-pixels": "Craftax-Classic-Pixels-v1",
}

_MINIGRID = """
    BlockedUnlockPickUp DoorKey-5x5 DoorKey-6x6 DoorKey-8x8 DoorKey-16x16 Empty-5x5 Empty-6x6 Empty-8x8 Empty-16x16
    EmptyRandom-5x5 EmptyRandom-6x6 EmptyRandom-8x8 EmptyRandom-16x16 FourRooms LockedRoom MemoryS8 MemoryS16 MemoryS32
    MemoryS64 MemoryS128 Playground Unlock UnlockPickUp
""".split()  # noqa: SIM905
_XLAND = """
    R1-9x9 R1-11x11 R1-13x13 R1-15x15 R1-17x17 R2-9x9 R2-11x11 R2-13x13 R2-15x15 R2-17x17 R4-9x9 R4-11x11 R4-13x13
    R4-15x15 R4-17x17 R6-13x13 R6-17x17 R6-19x19 R9-16x16 R9-19x19 R9-25x25
""".split()  # noqa: SIM905
XMINIGRID = {
    **{name: f"MiniGrid-{name}" for name in _MINIGRID},
    **{f"XLand-{name}": f"XLand-MiniGrid-{name}" for name in _XLAND},
}

NAVIX = {  # those that both lines of it have, for Python 3.11 and for 3.12
    name: f"Navix-{name}-v0"
    for name in """
    DistShift1 DistShift2 DoorKey-5x5 DoorKey-6x6 DoorKey-8x8 DoorKey-16x16 DoorKey-Random-5x5 DoorKey-Random-6x6
    DoorKey-Random-8x8 DoorKey-Random-16x16 Dynamic-Obstacles-5x5 Dynamic-Obstacles-6x6 Dynamic-Obstacles-8x8
    Dynamic-Obstacles-16x16 Dynamic-Obstacles-5x5-Random Dynamic-Obstacles-6x6-Random Empty-5x5 Empty-6x6 Empty-8x8
    Empty-16x16 Empty-Random-5x5 Empty-Random-6x6 Empty-Random-8x8 Empty-Random-16x16 FourRooms GoToDoor-5x5
    GoToDoor-6x6 GoToDoor-8x8 KeyCorridorS3R1 KeyCorridorS3R2 KeyCorridorS3R3 KeyCorridorS4R3 KeyCorridorS5R3
    KeyCorridorS6R3 LavaGapS5 LavaGapS6 LavaGapS7 SimpleCrossingS9N1 SimpleCrossingS9N2 SimpleCrossingS9N3
    SimpleCrossingS11N5
""".split()  # noqa: SIM905
}

JUMANJI = {
    name.rpartition("-")[0]: name
    for name in """
    BinPack-v2 CVRP-v1 Cleaner-v0 Connector-v3 FlatPack-v0 Game2048-v1 GraphColoring-v1 JobShop-v0 Knapsack-v1
    LevelBasedForaging-v0 MMST-v0 Maze-v0 Minesweeper-v0 MultiCVRP-v0 PacMan-v1 RobotWarehouse-v0
    RubiksCube-partly-scrambled-v0 RubiksCube-v0 SearchAndRescue-v0 SlidingTilePuzzle-v0 Snake-v1 Sudoku-v0
    Sudoku-very-easy-v0 TSP-v1 Tetris-v0
""".split()  # noqa: SIM905
}

PLAYGROUND = {
    name: name
    for name in """
    AcrobotSwingup AcrobotSwingupSparse BallInCup CartpoleBalance CartpoleBalanceSparse CartpoleSwingup
    CartpoleSwingupSparse CheetahRun FingerSpin FingerTurnEasy FingerTurnHard FishSwim HopperHop HopperStand
    HumanoidStand HumanoidWalk HumanoidRun PendulumSwingup PointMass ReacherEasy ReacherHard SwimmerSwimmer6 WalkerRun
    WalkerStand WalkerWalk
""".split()  # noqa: SIM905
}

JAXMARL = {
    name: name
    for name in """
    MPE_simple_v3 MPE_simple_tag_v3 MPE_simple_world_comm_v3 MPE_simple_spread_v3 MPE_simple_crypto_v3
    MPE_simple_speaker_listener_v4 MPE_simple_push_v3 MPE_simple_adversary_v3 MPE_simple_reference_v3
    MPE_simple_facmac_v1 MPE_simple_facmac_3a_v1 MPE_simple_facmac_6a_v1 MPE_simple_facmac_9a_v1 switch_riddle SMAX
    HeuristicEnemySMAX coin_game overcooked hanabi
""".split()  # noqa: SIM905
}

SUITES: dict[str, dict[str, str]] = {
    "craftax": CRAFTAX,
    "xminigrid": XMINIGRID,
    "playground": PLAYGROUND,
    "navix": NAVIX,
    "jumanji": JUMANJI,
    "jaxmarl": JAXMARL,
}
"""For each suite the name of an environment here, without `suite/`, and the library's own name for it."""

EXCLUDED = {
    "jumanji/Sokoban": "downloads its levels when it is built",
}
NAMES = tuple(f"{suite}/{name}" for suite, names in SUITES.items() for name in names)

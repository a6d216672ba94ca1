"""The names that this package offers: rljax imports this module when it meets a name that it does not know."""

from outsider.objective import Leash
from rljax import algos, catalogue, envs, log, objectives
from rljax.algos.presets import Preset

presets = {"outsider/lander": Preset(4096, {"num_envs": 8, "lr": 3e-3}, "this test")}
algos.register("a2c", "outsider.a2c:A2C", presets=presets)
envs.register("outsider/lander", "outsider.lander:make")
envs.register_wrapper("louder", "outsider.louder:louder")
catalogue.TORSOS.register("gated", "outsider.gated:Gated")
objectives.register(Leash, name="leash")
log.register("tally", "outsider.tally:Tally")

"""Train, watch, evaluate, film, load, act: what README and docs/policies.md promise."""

import json
import subprocess
from pathlib import Path

import gymnasium

import pbrl

SMALL = "--config.actor-hidden 8,8 --config.critic-hidden 16,16 --schedule.batch-size 16 --schedule.warmup-steps 50"


def pbrl_says(line):
    """Run a command, and return what it prints."""
    done = subprocess.run(["pbrl", *line.split()], capture_output=True, text=True)
    assert done.returncode == 0, f"pbrl {line}:\n{done.stdout}{done.stderr}"
    return done.stdout


def draws(env_id):
    """Return whether MuJoCo finds graphics here."""
    try:
        env = gymnasium.make(env_id, render_mode="rgb_array")
        env.reset()
        return env.render() is not None
    except Exception:
        return False


train = f"train sac --env InvertedPendulum-v5 --preset cpu --steps 150 {SMALL} --schedule.eval-every 75 --out run"
said = pbrl_says(train)
assert "75" in said and "150" in said and "run" in said, said
rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
assert [row["step"] for row in rows if row["kind"] == "eval"] == [0, 75, 150]
assert Path("run/curve.png").stat().st_size > 5_000
pbrl_says(train.replace("--steps 150", "--steps 160"))  # the same command goes on

pbrl_says("eval run --best --episodes 3 --out scores.json")
assert json.loads(Path("scores.json").read_text())
if draws("InvertedPendulum-v5"):
    pbrl_says("video run --out film.mp4")
    assert Path("film.mp4").read_bytes()[4:8] == b"ftyp"
else:
    print("nothing draws on this machine: no film")

policy = pbrl.load("run", seed=0)
env = gymnasium.make("InvertedPendulum-v5")
(obs, _), over, total = env.reset(seed=1), False, 0.0
while not over:
    obs, reward, terminated, truncated, _ = env.step(policy(obs))
    over, total = terminated or truncated, total + reward
assert policy.step == 160 and total >= 1, total

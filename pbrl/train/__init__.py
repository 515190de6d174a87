"""The training loop. What happens to each seed of a run, and the file that does it:

    agent, buffer = fresh, or those of a checkpoint         # learn.start; resume; graft: with another run's parts
    for step in 1, ..., total_steps:
        action = agent.act(obs), random in the warm-up      # host or device + step: the two drivers
        next_obs, reward = environment.step(action)         # streams (Gymnasium); step (JAX)
        store the transition, fold it into the statistics   # learn.collect
        if a fit is due: fit the model                      # fitting: in epochs, on windows, or until it stops
        if it is due: imagine transitions                   # model_data: into a second buffer
        updates_per_step times, after the warm-up:          # learn.learn; guard gives up what diverges
            agent.update(a batch of the buffers)            #   undone where it is not finite
        if they are due: log, evaluate, diagnose, save      # journal; evaluate and step; pbrl.diagnose.watch; resume
        keep each seed's best policy                        # best, by evaluations; acting: what of a state acts
        on a signal: save and stop                          # stopping; watchdog, where an environment hangs

`host` steps Gymnasium's environments and calls a compiled program for each phase. `device` steps environments in JAX
and compiles the loop itself. `contract` says what both offer to a session, and `drivers` finds one by name. Several
hosts wait for each other by `host_sync`. When each phase is due says `pbrl.runs.schedule`.

What an update computes is the agents' (`pbrl.agents`), where randomness comes from `pbrl.runs.seeding`'s.
"""

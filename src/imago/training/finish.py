def finish(config, folder, data, history, say):
    say("finish: later")

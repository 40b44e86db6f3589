"""Make the demo checkpoint: one command for all stages, which can be stopped and started again.

    python models/training/train.py --work FOLDER                all stages, going on where FOLDER stands
    python models/training/train.py --work FOLDER --smoke        the same in about two minutes, learning little
    python models/training/train.py --work FOLDER --init-from models/demo --denoiser-steps 4000
                                                                 start warm from committed weights

README.md beside this file tells what each stage does.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from recipe import autoencoder_training, data, decoder, denoiser, evaluate, export, latents
from recipe.run import Run
from recipe.settings import Settings, smoke

STAGES = ("data", "autoencoder", "latents", "denoiser", "decoder", "export", "evaluate")

#: What runs unless told otherwise; the committed checkpoint was made without the decoder's extra training.
USUAL = tuple(stage for stage in STAGES if stage != "decoder")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run: data, checkpoints, status")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint (default: FOLDER/demo)")
    parser.add_argument("--stages", default=",".join(USUAL), help="comma-separated (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="run every stage, small, in about two minutes")
    parser.add_argument("--init-from", type=Path, help="a checkpoint folder to start warm from")
    parser.add_argument("--autoencoder-steps", type=int)
    parser.add_argument("--denoiser-steps", type=int)
    parser.add_argument("--decoder-steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    unknown = set(options.stages.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"unknown stages {sorted(unknown)}, expected some of {', '.join(STAGES)}")
    return options


def settings_of(options: argparse.Namespace) -> Settings:
    """The recipe's settings with what the command line changes."""
    settings = replace(Settings(), threads=options.threads)
    if options.smoke:
        settings = smoke(settings)
    for stage in ("autoencoder", "denoiser", "decoder"):
        steps = getattr(options, f"{stage}_steps")
        if steps is not None:
            settings = replace(settings, **{stage: replace(getattr(settings, stage), steps=steps)})
    if options.init_from and options.autoencoder_steps is None:
        # a warm start keeps the latent space, unless it is told to move it
        settings = replace(settings, autoencoder=replace(settings.autoencoder, steps=0))
    return settings


def main() -> None:
    """Run the chosen stages in order."""
    options = arguments()
    run = Run(options.work, settings_of(options))
    out = options.out or options.work / "demo"
    stages = {
        "data": lambda: data.draw(run),
        "autoencoder": lambda: autoencoder_training.train(run, options.init_from),
        "latents": lambda: latents.encode_all(run),
        "denoiser": lambda: denoiser.train(run, options.init_from),
        "decoder": lambda: decoder.polish(run),
        "export": lambda: export.export(run, out),
        "evaluate": lambda: evaluate.evaluate(run, out),
    }
    chosen = options.stages.split(",")
    for name, stage in stages.items():
        if name in chosen:
            stage()


if __name__ == "__main__":
    main()

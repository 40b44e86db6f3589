"""What every Python peer shares: the line protocol of bench/worker.mjs, the loop of a run, the check, peak memory.

One JSON request a line, one JSON reply a line. A kind of peer is a subclass with its own file, that says where the two
networks come from and how its arrays are made.
"""

import json
import os
import statistics
import sys
import time

BEGUN = time.perf_counter()
# A wrong network is off by about 1; right ones differ by rounding.
TOLERANCE = {"float32": 1e-3, "bfloat16": 6e-2}


def seconds_of(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def peak_memory():
    """The high-water mark of this process' resident memory, in MiB."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except FileNotFoundError:
        import resource

        scale = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def relative_error(found, wanted):
    if found.shape != wanted.shape:
        raise RuntimeError(f"Expected {wanted.shape} but received {found.shape}")
    return float((((found - wanted) ** 2).mean() / (wanted**2).mean()) ** 0.5)


class Peer:
    """Subclasses have imports, load, noise, set_timesteps, unet, next_latents, decode_latents, from_numpy and to_numpy."""

    def start(self, model, threads, dtype, **options):
        self.versions(model, threads, dtype)
        imported = time.perf_counter() - BEGUN
        return {"import": imported, "load": seconds_of(lambda: self.load(**options))}

    def versions(self, model, threads, dtype, **_):
        self.model, self.threads, self.dtype = model, threads, dtype
        return {"python": sys.version.split()[0], **self.imports()}

    def begin(self, steps, seed):
        self.latents = self.noise(seed)
        self.remaining = iter(self.set_timesteps(steps))
        return {}

    def _step(self):
        timestep = next(self.remaining)
        self.latents = self.next_latents(self.unet(self.latents, timestep), timestep, self.latents)

    def step(self):
        return {"seconds": seconds_of(self._step)}

    def decode(self):
        return {"seconds": seconds_of(lambda: self.to_numpy(self.decode_latents(self.latents)))}

    def generate(self, steps, seed):
        def run():
            self.begin(steps, seed)
            for _ in range(steps):
                self._step()
            self.to_numpy(self.decode_latents(self.latents))

        return {"seconds": seconds_of(run)}

    def shape(self, what, batch, halves, later):
        """A call with latents of another shape, and the median of those that follow it; the side in halves of the model's."""
        latents = self.noise(0, batch, halves)
        timestep = self.set_timesteps(1)[0]
        call = (lambda: self.unet(latents, timestep)) if what == "step" else (lambda: self.decode_latents(latents))
        first = seconds_of(call)
        return {"first": first, "later": statistics.median(seconds_of(call) for _ in range(later))}

    def check(self):
        """Compare with what eager float32 diffusers computed: root mean square errors, relative."""
        from safetensors.numpy import load_file

        given = load_file(os.path.join(self.model, "exports/expected/expected.safetensors"))
        found = {
            "step": self.unet(self.from_numpy(given["latents"]), self.from_numpy(given["timestep"])),
            "decode": self.decode_latents(self.from_numpy(given["codes"])),
        }
        errors = {name: relative_error(self.to_numpy(value), given[name]) for name, value in found.items()}
        if not max(errors.values()) <= TOLERANCE[self.dtype]:
            raise RuntimeError(f"Expected relative errors up to {TOLERANCE[self.dtype]} but received {errors}")
        return errors

    def memory(self):
        return {"peak": peak_memory()}

    def serve(self):
        for line in sys.stdin:
            request = json.loads(line)
            reply = getattr(self, request.pop("do"))(**request)
            print(json.dumps(reply), flush=True)

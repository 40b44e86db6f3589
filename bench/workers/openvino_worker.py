"""The peer: OpenVINO on the CPU, static shapes, tuned for latency."""

import os

from exported import ExportedPeer


class OpenVino(ExportedPeer):
    def import_runtime(self):
        import openvino

        self.runtime = openvino
        return {"openvino": openvino.__version__.split("-")[0]}

    def load(self):
        core = self.runtime.Core()
        precision = {"float32": "f32", "bfloat16": "bf16"}[self.dtype]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": self.threads}
        self.networks = [
            core.compile_model(os.path.join(self.model, "exports/openvino", name), "CPU", settings).create_infer_request()
            for name in ("unet.xml", "decoder.xml")
        ]

    def unet(self, latents, timestep):
        return self.networks[0].infer([latents, timestep])[0]

    def decode_latents(self, latents):
        return self.networks[1].infer([latents])[0]


if __name__ == "__main__":
    OpenVino().serve()

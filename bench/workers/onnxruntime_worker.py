"""The peer: ONNX Runtime on the CPU, all graph optimisations."""

import os

from exported import ExportedPeer


class OnnxRuntime(ExportedPeer):
    def import_runtime(self):
        import onnxruntime

        self.runtime = onnxruntime
        return {"onnxruntime": onnxruntime.__version__}

    def load(self):
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.sessions = [
            self.runtime.InferenceSession(os.path.join(self.model, "exports/onnxruntime", name), options, ["CPUExecutionProvider"])
            for name in ("unet.onnx", "decoder.onnx")
        ]

    def unet(self, latents, timestep):
        return self.sessions[0].run(None, {"latents": latents, "timestep": timestep})[0]

    def decode_latents(self, latents):
        return self.sessions[1].run(None, {"latents": latents})[0]


if __name__ == "__main__":
    OnnxRuntime().serve()

#include <napi.h>

#include "binding/environment.h"
#include "binding/exports.h"

namespace {

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  latent_diffusion::Environment::Create(env);
  latent_diffusion::ExportRuntime(env, exports);
  latent_diffusion::ExportTensor(env, exports);
  latent_diffusion::ExportOperator(env, exports);
  latent_diffusion::ExportGenerator(env, exports);
  latent_diffusion::ExportCheckpoint(env, exports);
  latent_diffusion::ExportModule(env, exports);
  return exports;
}

NODE_API_MODULE(latent_diffusion, Initialize)

}  // namespace

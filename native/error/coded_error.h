// An error with one of the codes of lib/errors.ts. Thread: any.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace latent_diffusion {

class CodedError : public std::runtime_error {
 public:
  CodedError(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}

  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace latent_diffusion

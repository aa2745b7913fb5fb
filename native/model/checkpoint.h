// Weights to and from one safetensors file with Hugging Face names.
#pragma once

#include <string>

#include "model/parameters.h"

namespace zazen {

// Fills `weights`. Every parameter must be there with its shape; a tensor that is no parameter is an error too, except the copy
// of a tied head and stored rotary frequencies, which older files carry. check_weights says the same from the header alone, so
// that a wrong config.json costs no memory.
void check_weights(const std::string& path, const ModelSpec& spec, const ParameterList& parameters);
void load_weights(const std::string& path, const ModelSpec& spec, const ParameterList& parameters, float* weights);
void save_weights(const std::string& path, const ParameterList& parameters, const float* weights);

}  // namespace zazen

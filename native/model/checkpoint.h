// Weights to and from safetensors files with Hugging Face names: read from one file or several, written to one.
#pragma once

#include <string>
#include <vector>

#include "model/parameters.h"

namespace zazen {

// Fills `weights`. Every parameter must be in one of the files with its shape; a tensor that is no parameter is an error too,
// except the copy of a tied head and stored rotary frequencies, which older files carry. check_weights says the same from the
// headers alone, so that a wrong config.json costs no memory.
void check_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters);
void load_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters,
                  const WeightStore& store);
// In the type of the weights.
void save_weights(const std::string& path, const ParameterList& parameters, TensorView weights);

}  // namespace zazen

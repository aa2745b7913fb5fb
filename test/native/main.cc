// Runs the native tests: zazen_tests [FILTER].
#include "harness.h"

int main(int count, char** arguments) { return harness::run_all(count > 1 ? arguments[1] : nullptr); }

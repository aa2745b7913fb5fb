{
  "targets": [
    {
      "target_name": "zazen",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building native/CMakeLists.txt, which holds the one source list",
          "inputs": ["native/CMakeLists.txt"],
          "outputs": ["build/Release/zazen.node"],
          "action": ["node", "node_modules/cmake-js/bin/cmake-js", "compile", "-d", "native", "-O", "build"]
        }
      ]
    }
  ]
}

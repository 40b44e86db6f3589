{
  # For `npm rebuild`, `node-gyp rebuild` and `@electron/rebuild` in a checkout: hands over to the CMake build, which setup
  # drives. package.json says "gypfile": false and the published package does not have this file: nothing builds unasked.
  "targets": [
    {
      "target_name": "latent_diffusion",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(module_root_dir)/build/addon.sha256"],
          "action": ["node", "<(module_root_dir)/scripts/setup.mjs", "--rebuild", "native"]
        }
      ]
    }
  ]
}

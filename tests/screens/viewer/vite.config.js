import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { nodePolyfills } from "vite-plugin-node-polyfills";

export default defineConfig({
  base: "/viewer/",
  build: { chunkSizeWarningLimit: 20000 },
  define: { "process.env": {} },
  plugins: [nodePolyfills(), react()],
});

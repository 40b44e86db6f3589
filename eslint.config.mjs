import prettier from "eslint-config-prettier";
import tseslint from "typescript-eslint";

const noDefaultExport = {
  selector: "ExportDefaultDeclaration",
  message: "Name what is exported: one name everywhere, and `import` and `require` agree.",
};

const house = {
  eqeqeq: "error",
  "no-console": "error",
  "no-restricted-syntax": ["error", noDefaultExport],
  "no-var": "error",
  "prefer-const": "error",
  "max-lines": ["error", { max: 300, skipBlankLines: true, skipComments: true }],
  // "About 40": the linter leaves room for those that have earned it.
  "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }],
  "@typescript-eslint/no-unused-vars": [
    "error",
    { argsIgnorePattern: "^_", varsIgnorePattern: "^_", destructuredArrayIgnorePattern: "^_" },
  ],
};

const strict = {
  "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
  "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
  "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
  // Callers in JavaScript pass what the types forbid; the checks that seem needless are for them.
  "@typescript-eslint/no-unnecessary-condition": "off",
  // Functions are passed as marks for Error.captureStackTrace, never called through the reference.
  "@typescript-eslint/unbound-method": "off",
  // sharp is loaded when a picture is first encoded: tensors alone should not need it.
  "@typescript-eslint/no-require-imports": ["error", { allow: ["^sharp$"] }],
};

export default tseslint.config(
  {
    ignores: ["build/", "dist/", ".local/", ".tap/", "**/node_modules/", "models/training/"],
  },
  {
    files: ["lib/**/*.ts", "test/**/*.ts", "test/**/*.mts"],
    ignores: ["test/install/projects/**"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: ["./tsconfig.test.json"], tsconfigRootDir: import.meta.dirname } },
    rules: { ...house, ...strict },
  },
  {
    // Describes any value, so String() on what is left after the known kinds is what it is for.
    files: ["lib/validate.ts"],
    rules: { "@typescript-eslint/no-base-to-string": "off" },
  },
  {
    // A test reads as a list of cases: long, flat, and asynchronous by tap's signature.
    files: ["test/**/*.ts", "test/**/*.mts"],
    rules: {
      "max-lines": ["error", { max: 450, skipBlankLines: true, skipComments: true }],
      "max-lines-per-function": "off",
      "@typescript-eslint/no-floating-promises": "off",
      // `wrong<T>(value)` hands a typed function what JavaScript callers pass.
      "@typescript-eslint/no-unnecessary-type-parameters": "off",
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/no-confusing-void-expression": "off",
    },
  },
  {
    // A user's project: it has a tsconfig.json of its own and, in this checkout, no dependencies.
    files: ["test/install/projects/**/*.ts"],
    extends: [tseslint.configs.strict],
    rules: { "@typescript-eslint/no-non-null-assertion": "off", "@typescript-eslint/ban-ts-comment": "off" },
  },
  {
    files: ["**/*.mjs"],
    extends: [tseslint.configs.strict],
    rules: { ...house, "no-console": "off" },
  },
  { files: ["eslint.config.mjs", ".dependency-cruiser.mjs"], rules: { "no-restricted-syntax": "off" } },
  prettier,
);

"use strict";

SwaggerUIBundle({
  url: "/openapi.json",
  domNode: document.getElementById("api"),
  deepLinking: true,
  // The default asks a server elsewhere.
  validatorUrl: null,
});

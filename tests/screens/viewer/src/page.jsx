// One screen: ?file=PATH and any macros as further parameters. PVs come from the web socket of the page's own server.
import React from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { BrowserRouter } from "react-router-dom";
import {
  DynamicPageWidget,
  FileProvider,
  RelativePosition,
  ensureWidgetsRegistered,
  store,
} from "@diamondlightsource/cs-web-lib";

ensureWidgetsRegistered();
const { file, ...macros } = Object.fromEntries(new URLSearchParams(location.search));
const PERIOD = 50; // ms between two updates of what is shown
const settings = { PVWS_SOCKET: location.host, PVWS_SSL: false, THROTTLE_PERIOD: PERIOD };
const all = store(settings);

// The library gathers new values for this time, but has every widget look at each connection and subscription anew.
function subscribe(look) {
  let waiting = 0;
  const later = () => {
    waiting ||= setTimeout(() => {
      waiting = 0;
      look();
    }, PERIOD);
  };
  const leave = all.subscribe(later);
  return () => {
    clearTimeout(waiting);
    leave();
  };
}

const whole = new RelativePosition("0", "0", "100%", "100%");

createRoot(document.getElementById("screen")).render(
  <Provider store={{ ...all, subscribe }}>
    <BrowserRouter>
      <FileProvider initialPageState={{ main: { path: file, macros, defaultProtocol: "ca" } }} initialTabState={{}}>
        <DynamicPageWidget location="main" position={whole} scroll={true} showCloseButton={false} />
      </FileProvider>
    </BrowserRouter>
  </Provider>,
);
